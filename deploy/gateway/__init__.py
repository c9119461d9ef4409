"""The gateway: settings, the nginx configuration made of them, readiness of replicas, and a local run of all of it."""
