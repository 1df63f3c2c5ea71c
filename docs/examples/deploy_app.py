# %% [markdown]
# # A Deploy app
#
# MONAI Deploy runs operators in an app; this one has one operator, which runs the pipeline of
# `dicom_to_dicom.json` on the folder that the app is given: `python deploy_app.py -i series -o
# derived`. It needs `monai-deploy-app-sdk`; where that is missing, only the pipeline is shown.

# %%
import json
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

CONFIG = Path(__file__).with_name("dicom_to_dicom.json")


def run_pipeline(series: Path, folder: Path, **changes: Any) -> None:
    """Make of a DICOM series what the config says, into a folder."""
    config = json.loads(CONFIG.read_text()) | {"series": str(series), "folder": str(folder)}
    ConfigParser(config | changes).get_parsed_content("run")


# %% [markdown]
# The operator and its app: where the series lies and where its answers go, the app's context says.

# %%
try:
    from monai.deploy.conditions import CountCondition
    from monai.deploy.core import Application, Operator, OperatorSpec
except ImportError:
    print(
        "MONAI Deploy is not installed; the pipeline alone:",
        ", ".join(json.loads(CONFIG.read_text())),
    )
else:

    class DicomToDicom(Operator):
        """Runs the pipeline once."""

        def __init__(
            self, fragment: object, *args: object, series: Path, folder: Path, **options: object
        ) -> None:
            self.series, self.folder = series, folder
            super().__init__(fragment, *args, **options)

        def setup(self, spec: OperatorSpec) -> None:
            """It takes nothing from other operators, and hands nothing on."""

        def compute(self, op_input: object, op_output: object, context: object) -> None:
            """Read, work and write."""
            run_pipeline(self.series, self.folder)

    class App(Application):
        """One operator."""

        def compose(self) -> None:
            """Place it between the folders of the command line."""
            paths = Application.init_app_context(self.argv)
            series, folder = Path(paths.input_path), Path(paths.output_path)
            once = CountCondition(self, 1)
            self.add_operator(DicomToDicom(self, once, series=series, folder=folder))

    if __name__ == "__main__":
        App().run()
