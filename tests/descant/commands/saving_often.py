"""Run by test_resume.py in processes to be killed: `descant` that saves whenever so many seconds have passed."""

import os
import sys
from typing import Any

import descant.commands.train
from descant.cli import main

given: dict[str, Any] = globals().get("given", {})

if __name__ == "__main__":
    descriptor = os.open(given["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    descant.commands.train.CHECKPOINT_SECONDS = given["seconds"]
    sys.exit(main(given["arguments"]))
