"""The rows of the schedule, written for the engine that a firm already runs: systemd, Kubernetes or Airflow."""
