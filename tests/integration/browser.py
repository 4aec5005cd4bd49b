"""A headless Chromium for tests of the page `/ui`, driven by browser/drive.mjs."""

import json
import pathlib
import shutil
import subprocess

from harness import PATIENCE, program_env

FOLDER = pathlib.Path(__file__).parent / "browser"


class Browser:
    def __init__(self, directory):
        program = shutil.which("chromium")
        assert program, "chromium is not installed: scripts/test --long installs it (Debian: chromium)"
        assert (FOLDER / "node_modules").is_dir(), "the packages of tests/integration/browser are not installed: scripts/test --long does"
        self.node = subprocess.Popen(["node", "drive.mjs", program, str(directory / "chromium"), str(int(PATIENCE * 3))], cwd=FOLDER,
                                     env=program_env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.node.stdout.readline() == "ready\n", "chromium does not start"

    def do(self, what, **more):
        self.node.stdin.write(json.dumps({"do": what, **more}) + "\n")
        self.node.stdin.flush()
        line = self.node.stdout.readline()
        assert line, f"the driver ended at {what} {more}"
        answer = json.loads(line)
        assert "error" not in answer, f"{what} {more}: {answer['error']}"
        return answer["value"]

    def open(self, url, **more):
        return self.do("open", url=url, **more)

    def value(self, of):
        return self.do("value", of=of)

    def until(self, expression):
        return self.do("until", **{"is": expression})

    def text(self, selector):
        return self.value(f"document.querySelector({json.dumps(selector)}).innerText")

    def until_text(self, selector, part):
        self.until(f"(document.querySelector({json.dumps(selector)}) || {{}}).innerText?.includes({json.dumps(part)})")

    def close(self):
        self.node.stdin.close()
        try:
            self.node.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.node.kill()
            self.node.wait()
