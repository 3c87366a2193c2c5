"""Names and bounds that several services must agree on, and that a file or the registry holds."""

from typing import Final

# the registered model's aliases in MLflow: the version that serves, the one that served before, and one on trial
CHAMPION: Final = "champion"
PREVIOUS: Final = "previous"
CHALLENGER: Final = "challenger"

# tags of a registered version: the SHA-256 of its artifact, and of the reference that its promotion replaced; the
# time of the newest logged row that it has learned from, in microseconds; the moment (RFC 3339) at which all API
# containers change over to it, which is that many seconds after the alias has moved
MODEL_SHA256: Final = "model_sha256"
REFERENCE_DIGEST: Final = "reference_digest"
LEARNED_THROUGH: Final = "learned_through"
SERVES_FROM: Final = "serves_from"
LEAD_SECONDS: Final = 10.0

# the artifact of a version: an ONNX file, unless its tag names the other one, of an MLflow pyfunc
MODEL_FILE: Final = "model_file"
ONNX_FILE: Final = "model.onnx"
PYFUNC_FILE: Final = "pyfunc.zip"

# metadata of a model.onnx: JSON lists of the features and of the categories, in the order of its input and output
ONNX_FEATURES: Final = "features"
ONNX_CLASSES: Final = "classes"

# metadata of reference.parquet
ORIGIN: Final = "driftloop.origin"  # sample, user or rebased
REFERENCE_MODEL: Final = "driftloop.model_version"
THROUGH: Final = "driftloop.through"  # the time of the newest logged row in it
PERFORMANCE: Final = "driftloop.performance"

# metadata of a merged part: the names of the parts whose rows it holds
COVERS: Final = "driftloop.covers"

# rows of the largest part that merging makes; a part of more than half of them is not merged again
LARGEST_PART: Final = 131_072
