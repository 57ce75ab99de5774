"""The services of docker/compose.yaml on this machine: its commands, its variables, our servers."""

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.docker import compose_file
from tests.docker.image import lay_out
from tests.docker.servers import PostgresServer, Processes, free_port

TOOLS = ("bash", "env", "sh")
"""All that the images have of what a stage could call: no git, no compiler."""


class Composed:
    """The services of the file, with what stands for their names here.

    `bins` are the environments of images, by the name of their Dockerfile; without one the tests'
    own is used.
    """

    def __init__(
        self,
        folder: Path,
        postgres: PostgresServer,
        s3_url: str,
        bins: Mapping[str, Path] | None = None,
        **variables: str,
    ) -> None:
        self.key = f"{secrets.token_hex(6)}.{secrets.token_urlsafe(32)}"
        (folder / "first_key").write_text(f"{self.key}\n")
        (folder / "data").mkdir()
        self.variables = {
            "POSTGRES_PASSWORD": postgres.password,
            "ENGINE_DB_PASSWORD": "it's/of@engine:1",  # what a URL could not hold as it is
            "MLFLOW_DB_PASSWORD": "of-mlflow",
            "S3_ACCESS_KEY": "of-s3",
            "S3_SECRET_KEY": "secret-of-s3",
            "FIRST_KEY_PATH": str(folder / "first_key"),
        } | variables
        self.services = compose_file.read(self.variables)["services"]
        serving_port, mlflow_port = free_port(), free_port()
        self._more = {"serving": {"ML_ENGINE_PORT": str(serving_port)}}
        self.address = f"http://127.0.0.1:{serving_port}"
        self.mlflow = f"http://127.0.0.1:{mlflow_port}"
        self._here = (
            ("http://s3:7070", s3_url),
            ("@postgres:5432", f"@127.0.0.1:{postgres.port}"),
            ("http://mlflow:5000", self.mlflow),
            (":5000", f":{mlflow_port}"),
            ("/run/secrets/first_key", str(folder / "first_key")),
            ("/data", str(folder / "data")),
            ("0.0.0.0", "127.0.0.1"),
        )
        self._whole = {"5000": str(mlflow_port)}
        self._folder, self._bins = folder, dict(bins or {})
        self.processes = Processes(folder)
        postgres.run_sql(
            compose_file.ROOT / "docker" / "postgres" / "databases.sql", self.variables
        )

    def run(self, name: str) -> None:
        """Run a service that ends; it must end well."""
        process = self.start(name)
        assert process.wait(120) == 0, self.processes.said(name)

    def start(self, name: str) -> "subprocess.Popen[bytes]":
        """Start a service in the folder of its image, with its variables and no others."""
        service = self.services[name]
        image = Path(service["build"]["dockerfile"]).stem
        command = [self._local(part) for part in service["command"]]
        given = {n: self._local(str(value)) for n, value in service["environment"].items()}
        environment = self._of_image(image) | given | self._more.get(name, {})
        return self.processes.start(name, command, self._app(image), environment)

    def _app(self, image: str) -> Path:
        folder = self._folder / f"app-{image}"
        return folder if folder.exists() else lay_out(image, folder)

    def _of_image(self, image: str) -> dict[str, str]:
        own = self._bins.get(image)
        path = f"{own or Path(sys.executable).parent}{os.pathsep}{self._tools()}"
        packages = {} if own else {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        home = {"PATH": path, "HOME": str(self._folder), "GIT_PYTHON_REFRESH": "quiet"}
        return home | packages | {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}

    def _tools(self) -> Path:
        folder = self._folder / "bin"
        if not folder.exists():
            folder.mkdir()
            for tool in TOOLS:
                (folder / tool).symlink_to(str(shutil.which(tool)))
        return folder

    def _local(self, text: str) -> str:
        if text in self._whole:
            return self._whole[text]
        for name, here in self._here:
            text = text.replace(name, here)
        return text
