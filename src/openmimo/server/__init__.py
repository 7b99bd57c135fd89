"""OpenAI-compatible HTTP server and the page."""

from openmimo.server.app import create_app
from openmimo.server.launcher import serve

__all__ = ["create_app", "serve"]
