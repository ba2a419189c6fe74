"""A metric of generated images: how much their features vary, beside those of the training images."""

from harness.evaluation.generated import Generated
from harness.evaluation.records import Value

title = "spread"
about = "total variance of the features of generated images, in % of that of training images"
unit = "%"
better = ""
digits = 1
splits = ("samples", "guided")
tables = ("generation",)


def measure(m: Generated) -> Value:
    images, training = (features.double().var(0).sum().item() for features in m.features)  # each (n, D)
    return Value(100 * images / training, len(m))


def protocol(m: Generated) -> str:
    return f"trace of the covariance of the features, beside {m.reference_images} training images; {m.how}"
