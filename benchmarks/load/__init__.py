"""Load tests: workloads, the traffic made of them, the capacity search, the plan and the report.

Pure parts (``workload``, ``arrivals``, ``windows``, ``statistics``, ``search``, ``queueing``, ``plan``, ``compare``,
``report``) know no clock and no network. ``driver``, ``users``, ``timing``, ``server``, ``scrape`` and ``session`` do.
Whatever uses gevent must be imported after ``gevent.monkey.patch_all()``, which importing ``locust`` does.
"""
