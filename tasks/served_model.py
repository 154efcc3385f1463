"""The logged model's code ("models from code"): MLflow runs this file to get the model, so nothing is ever pickled.

Input: a column `image` with the bytes of an image file. Output: the label, and a probability for each class.
"""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

from tasks.scorer import Scorer


class ImageClassifier(PythonModel):
    """Scores image files with the model folder that was logged beside this code."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the weights once."""
        self.scorer = Scorer(Path(context.artifacts["model"]))

    def predict(self, context: PythonModelContext, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """DataFrame with column image (bytes) -> columns label and prob_<class>, a row an image."""
        probabilities = self.scorer.score_files([bytes(content) for content in model_input["image"]])
        labels = [self.scorer.classes[k] for k in probabilities.argmax(axis=1)]
        columns = {f"prob_{label}": probabilities[:, k] for k, label in enumerate(self.scorer.classes)}
        return pd.DataFrame({"label": labels, **columns})


mlflow.models.set_model(ImageClassifier())
