from __future__ import annotations

import os

import psutil

from benchmarks.load.observe import Observer


def test_every_stage_of_a_course_has_its_own_memory_although_they_are_compared_at_its_end() -> None:
    observer = Observer(None, root=os.getpid())
    began, between, ended = observer.look(), observer.look(), observer.look()

    stages = [observer.between(began, between), observer.between(between, ended)]
    for stage in stages:
        assert stage.server is not None
        assert stage.server.rss_mb > 0
        assert 0 < stage.client.rss_mb <= 2 * psutil.Process().memory_info().rss / 1e6
