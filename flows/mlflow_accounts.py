"""Who asks MLflow: what its basic-auth app calls for each request (`authorization_function` in basic_auth.ini).

MLflow lets every account make models and experiments, which it may then do all with. The accounts that read do not.
"""

from flask import Response, request
from mlflow.server.auth import authenticate_request_basic_auth, make_basic_auth_response
from werkzeug.datastructures import Authorization

READERS = ("api", "trigger")


def authenticate() -> Authorization | Response:
    """Return the login of the request, or the answer 401, or 403 to a reader who would write."""
    given = request.authorization
    if given is not None and given.type != "basic":
        answer: Response = make_basic_auth_response()
        return answer
    found: Authorization | Response = authenticate_request_basic_auth()
    if isinstance(found, Authorization) and found.username in READERS and request.method not in ("GET", "HEAD"):
        return Response(f"The account {found.username} only reads.\n", 403, mimetype="text/plain")
    return found
