"""Databases for gateways of tests that say nothing of one: with `--database sqlite` or `postgres` each gateway of the harness gets an empty one
of its own, and has to do all that it does without."""

import json
import uuid

import harness
from postgres import Cluster

NAMES = ("none", "sqlite", "postgres")


def may_have_one(config):
    """Whether a configuration would start with a database besides: it has a master key, and none yet."""
    general, ours = config.get("general_settings") or {}, config.get("tranche_settings") or {}
    return "master_key" in general and not {"database", "litellm_database"} & set(ours)


def with_database(config, url):
    return {**config, "tranche_settings": {**(config.get("tranche_settings") or {}), "database": url}}


class Sqlite:
    def make(self, directory):
        return f"sqlite://{directory}/gateway-{uuid.uuid4().hex}.db"

    def drop(self):
        """They go with the test's directory."""


class Postgres:
    def __init__(self, cluster):
        self.cluster, self.made = cluster, []

    def make(self, directory):
        self.made.append(f"gateway_{uuid.uuid4().hex}")
        self.cluster.psql(f"create database {self.made[-1]}")
        return self.cluster.url_of(self.made[-1])

    def drop(self):
        for name in self.made:
            self.cluster.psql(f"drop database {name} with (force)")
        self.made = []


class Given:
    """What harness.Gateway asks for the database of its configuration."""

    def __init__(self, engine):
        self.engine = engine

    def url_for(self, directory, config):
        return self.engine.make(directory) if isinstance(config, dict) and may_have_one(config) else None

    @staticmethod
    def text_of(config, url):
        """The configuration's text."""
        if url is not None and isinstance(config, dict) and may_have_one(config):
            config = with_database(config, url)
        return config if isinstance(config, str) else json.dumps(config, indent=1)


class Session:
    """The cluster of a whole run of tests, made when somebody needs it."""

    def __init__(self):
        self.cluster = None

    def engine(self, name):
        if name == "sqlite":
            return Sqlite()
        if self.cluster is None:
            self.cluster = Cluster("listen_addresses=", "max_connections=300")
        return Postgres(self.cluster)

    def close(self):
        if self.cluster is not None:
            self.cluster.close()


def give(engine):
    harness.Gateway.databases = Given(engine) if engine is not None else None
