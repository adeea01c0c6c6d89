import os
import time
import uuid

import jwt


def events_token(user):
    claims = {
        "exp": int(time.time()) + 600,
        "jti": str(uuid.uuid4()),
        "pipecast": {"subscribe": [f"user.{user.id}"]},
    }
    return jwt.encode(claims, os.environ["EVENTS_JWT_SECRET"], algorithm="HS256")
