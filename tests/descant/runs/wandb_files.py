"""The reader of offline sessions, under the name that the tests know it by."""

from descant.runs.wandb_files import wandb_records, wandb_rows

__all__ = ["wandb_records", "wandb_rows"]
