"""The private parts of gunicorn that `api.workers` and `api.connections` build on, all of them.

gunicorn promises none of them to anybody. pyproject.toml therefore allows the releases that the tests of slow clients
have passed with, and `tests/contract/test_gunicorn_parts.py` names what a newer release lacks.
"""

from gunicorn.http import get_parser
from gunicorn.workers.gthread import TConn, ThreadWorker

__all__ = ["CONNECTION_MEMBERS", "REPLACED_METHODS", "WORKER_MEMBERS", "TConn", "ThreadWorker", "get_parser"]

# Methods of ThreadWorker that its loop calls, and what it passes to them.
REPLACED_METHODS = {"accept": 1, "finish_request": 2, "murder_keepalived": 0}

# What `api.workers` uses of a ThreadWorker. When there are `max_keepalived` of `keepalived_conns`, gunicorn closes a
# connection with the answer.
WORKER_MEMBERS = {
    "alive",
    "cfg",
    "enqueue_req",
    "keepalived_conns",
    "max_keepalived",
    "nr_conns",
    "poller",
    "worker_connections",
}

# What `api.connections` sets of a TConn, for ThreadWorker's threads to read: with `initialized` and `data_ready` set
# they neither wait for the client nor make the parser. The parser reads by the connection's `recv`.
CONNECTION_MEMBERS = {"data_ready", "initialized", "parser", "sock"}
