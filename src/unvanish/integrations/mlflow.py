"""MLflow."""

import re
from collections.abc import Mapping

import mlflow


class MLflowWriter:
    """Metrics of the active run, or of the run that is named."""

    def __init__(self, run_id: str | None = None) -> None:
        self.run_id = run_id

    def write(self, step: int, values: Mapping[str, float]) -> None:
        allowed = {re.sub(r"[^\w\-. :/]", "_", name): value for name, value in values.items()}
        mlflow.log_metrics(allowed, step=step, run_id=self.run_id)
