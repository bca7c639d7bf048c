"""Packaging: `pip install -e .` gives the package and the `videojam` command.

Ranges, not pins: a lower bound is the oldest version the code is written
against, an upper bound stands only where a newer one is known to break it. The
exact versions that the tests are run with are in requirements.lock.
"""

import pathlib

import setuptools

HERE = pathlib.Path(__file__).resolve().parent

setuptools.setup(
    name="videojam_jax",
    version="0.1.0",
    description="VideoJAM in JAX: video diffusion transformers that carry appearance and motion.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=setuptools.find_packages(include=["videojam_jax", "videojam_jax.*"]),
    package_data={
        "videojam_jax": [
            "**/*.css", "**/*.csv", "**/*.html", "**/*.js", "**/*.json",
            "weights/**/*.md", "weights/**/*.safetensors",
        ]
    },
    entry_points={"console_scripts": ["videojam = videojam_jax.cli.main:main"]},
    install_requires=[
        "array_record>=0.8.1",
        "av>=17.1",
        "einops>=0.8",
        "flax>=0.12",
        "grain>=0.2.12",
        "jax>=0.10.2",
        "jaxtyping>=0.3",
        "matplotlib>=3.9",
        "ml_collections>=1.0",
        "ml_dtypes>=0.5",
        "numpy>=2.0",
        "opencv-python-headless>=4.11",
        "optax>=0.2.7",
        "orbax-checkpoint>=0.11.20",
        "pillow>=11",
        "rich>=13.7",
        "safetensors>=0.6",
        "scipy>=1.13",
        "sentencepiece>=0.2",
        "tensorboardX>=2.6.2",
        "tensorflow-datasets>=4.9.8",
        "tokenizers>=0.21",
    ],
    extras_require={
        # What launch/test.sh needs.
        "test": [
            "beartype>=0.22",
            "chex>=0.1.90",
            "hypothesis>=6.110",
            "pytest>=8.2",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.7",
        ],
        # Independent implementations that the oracle tests compare with.
        "oracle": [
            "diffusers>=0.35",
            "protobuf>=4",
            "torch>=2.6",
            "transformers>=4.50",
        ],
        # What the tests marked `browser` drive Chromium with, which is installed apart.
        "browser": ["playwright>=1.50"],
        # Accelerators. CUDA 12 wheels also run under the drivers of CUDA 13;
        # `pip install "jax[cuda13]"` beside this package works as well.
        "tpu": ["jax[tpu]"],
        "cuda": ["jax[cuda12]"],
    },
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
    ],
)
