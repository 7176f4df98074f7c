"""The expert of faces: FaceNet's embedding of each face, a GRU over them, and a classifier."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from torch import Tensor, nn

from mmlib.backbones.face_sequence import FaceSequence
from mmlib.backbones.inception_resnet import SMALLEST, InceptionResnetV1
from mmlib.backbones.published import weights_file
from mmlib.data.feature_set import FeatureSet
from mmlib.layers import last_real
from mmlib.systems.experts.output import Classifier, Recognised, only_stream, refuse_misfit, span_of
from mmlib.systems.scales import at_scale


@dataclass(frozen=True)
class FaceNetGRUConfig:
    """What the expert of faces is made of and how it is trained.

    Attributes:
        streams: the one stream that it reads.
        weights: a public file, or its name, "vggface2" or "casia-webface"; None: at random.
        width: share of the channels of InceptionResnetV1; the public weights need 1.
        freeze: train the GRU and the classifier alone.
        max_faces: of a sequence; of a longer one so many are chosen evenly (E-20).
        hidden_dim: of the GRU's states; head_dim: between the classifier's two layers.
        num_classes: emotions.
        epochs, batch_size, learning_rate, weight_decay: how it is trained by default.
    """

    streams: tuple[str] = ("vision",)
    weights: str | None = "vggface2"
    width: float = 1.0
    freeze: bool = True
    max_faces: int = 50
    hidden_dim: int = 512
    head_dim: int = 256
    num_classes: int = 7
    epochs: int = 10
    batch_size: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2

    @classmethod
    def paper(cls) -> Self:
        """Give the paper's numbers; VGGFace2's weights, frozen.

        The paper uses the network "to extract" embeddings, and does not say that it went on learning;
        nor how wide the GRU is, or how it was trained.
        """
        return cls()

    @classmethod
    def small(cls) -> Self:
        """Give the same architecture, narrow and from random weights: all of it is trained."""
        return cls(
            weights=None, width=1 / 8, freeze=False, max_faces=12, hidden_dim=32, head_dim=32
        )

    @classmethod
    def for_dataset(
        cls, dataset: FeatureSet, scale: str = "small", *, weights: str | None = None
    ) -> Self:
        """Take the classes from the data.

        Args:
            dataset: with face crops, as `prepare --dataset meld` writes them.
            scale: "small" or "paper".
            weights: a public file or its name; the network is then of full width, and frozen.

        Raises:
            ValueError: no faces, too small ones, other numbers than pictures have, labels that are no
                classes, or an unknown scale.
        """
        config = at_scale(cls, scale)
        refuse_misfit("facenet_gru", "vision", dataset)
        shape = tuple(dataset.inputs["vision"].shape)
        if len(shape) != 5 or shape[2] != 3 or min(shape[3:]) < SMALLEST:
            raise ValueError(
                f"facenet_gru reads faces (samples, faces, 3, height, width) of {SMALLEST} x "
                f"{SMALLEST} or more, but vision of {dataset.name} is {shape}."
            )
        low, high = span_of(dataset, "vision")
        if not (low >= 0 and high <= 1):
            raise ValueError(
                "facenet_gru reads faces as uint8 of 0 to 255, or as floats of 0 to 1, but vision of "
                f"{dataset.name} goes from {low:.4g} to {high:.4g}; it standardises them itself."
            )
        config = replace(config, num_classes=dataset.num_outputs)
        if weights is not None:
            config = replace(config, weights=weights, width=1.0, freeze=True)
        return config


class FaceNetGRU(nn.Module):
    """The expert of faces: a GRU over embeddings, and two layers that read its last state.

    With a frozen network a training step keeps no graph of it, and the faces go through it some at
    a time. Without, each real face of 160 x 160 holds 23 MB (at full width, in float32), a sample of
    50 faces more than a GB: give fewer samples at a time, or compute a batch in parts.

    Shape:
        - vision: (B, T, 3, H, W), RGB in [0, 1]; masks["vision"]: (B, T) bool
        - returns: a `Recognised`: logits (B, C), embedding (B, hidden_dim): the state behind the
          last real face
        - `features`: the states (B, min(T, max_faces), hidden_dim), and which of them are real

    Source:
        Crossmodal + EmbraceNet, section 4.1.3.

    Choices:
        E-12: `features` gives the sequence of states; its last real step is the vector that the paper
        may mean. E-19, E-20, E-35: see `FaceSequence`. E-33: a ReLU in the classifier.

    Raises:
        ValueError: vision is missing, or no faces.
        PretrainedError: the weights cannot be had, or are others.
    """

    raw_streams = ("vision",)

    def __init__(self, *, config: FaceNetGRUConfig) -> None:
        """Build the network, with the public weights where the config names them."""
        super().__init__()
        self.config = config
        network = InceptionResnetV1(width=config.width)
        if config.weights is not None:
            network.load_public(weights_file(config.weights))
        self.sequence = FaceSequence(
            network=network,
            hidden_dim=config.hidden_dim,
            max_faces=config.max_faces,
            freeze=config.freeze,
        )
        self.classify = Classifier(
            in_dim=config.hidden_dim, hidden_dim=config.head_dim, num_classes=config.num_classes
        )

    def forward(
        self, masks: dict[str, Tensor] | None = None, **inputs: Tensor | None
    ) -> Recognised:
        """Look, and tell the emotion; see the class."""
        embedding = last_real(*self.features(masks=masks, **inputs))
        return Recognised(self.classify(embedding), embedding)

    def features(
        self, *, masks: dict[str, Tensor] | None = None, **inputs: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Give the GRU's state behind each face, and which of them are real."""
        return self.sequence.states(*only_stream("facenet_gru", "vision", inputs, masks))
