"""A service of your own that answers by itself and logs what it answered: `uvicorn fastapi_service:app`.

Beside it lies `client.py`, a copy of driftloop's api/client.py. The API's address is in LOG_URL.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from client import LogClient
from fastapi import FastAPI
from pydantic import BaseModel

log = LogClient(os.environ.get("LOG_URL", "http://127.0.0.1:5050"), prediction="predicted_minutes")


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Send what waits before the service ends."""
    yield
    log.close()


app = FastAPI(lifespan=lifespan)


class Trip(BaseModel):
    """What a client asks about."""

    distance: float | None = None
    zone: str


@app.post("/minutes")
def minutes(trip: Trip) -> dict[str, float | str]:
    """Predict how long a trip takes; the model here is one line."""
    predicted = 3.0 + 2.5 * (trip.distance or 1.0)
    prediction_id = log.log(trip.model_dump(), predicted, model_version="rule-1")
    return {"minutes": predicted, "prediction_id": prediction_id}


@app.get("/logged")
def logged() -> dict[str, int]:
    """Tell what became of the predictions."""
    return log.counts
