"""The checks, in the order they are told: first what everything else stands on."""

from __future__ import annotations

from infctl.doctor.check import Check
from infctl.doctor.checks import (
    certificate,
    clock,
    compose,
    disk,
    dotenv,
    driver,
    engine,
    gpus,
    hub,
    images,
    limits,
    memory,
    mounts,
    nginx,
    nvidia_container,
    plan,
    ports,
    processor,
    profile,
    remote,
    state,
    toolkit,
    vllm,
)

CHECKS = (
    Check("profile", "is the profile sound, and are its secrets set", profile.look),
    Check("plan", "do the models fit the cards", plan.look, needs=("profile",)),
    Check("state", "can infctl write its books and files", state.look, needs=("profile",)),
    Check("env", "is .env there, private, and what the containers read", dotenv.look, needs=("profile",)),
    Check("docker", "does Docker answer, and is it new enough", engine.look, "docker"),
    Check(
        "remote",
        "is everything on the Docker host that is mounted",
        remote.look,
        "docker",
        ("stack", "docker"),
        timeout_s=60.0,
    ),
    Check("compose", "does Compose understand the rendered files", compose.look, "docker", ("stack",)),
    Check("images", "are the images here", images.look, "docker", ("stack", "docker")),
    Check("processor", "can vLLM's CPU build run here", processor.look, "process", ("profile",)),
    Check("memory", "has this machine enough memory", memory.look, "process", ("plan",)),
    Check("vllm", "is vLLM installed where engines start", vllm.look, "process", ("profile",)),
    Check("nginx", "is there an nginx for the edge", nginx.look, "process", ("profile",)),
    Check("driver", "is the NVIDIA driver new enough for the engines", driver.look, needs=("gpus",)),
    Check("toolkit", "can Docker hand out GPUs", toolkit.look, "docker", ("gpus", "stack", "docker")),
    Check(
        "nvidia-container",
        "does nvidia-smi work inside a container",
        nvidia_container.look,
        "docker",
        ("gpus", "stack", "docker"),
        timeout_s=60.0,
    ),
    Check("gpus", "is every card of the plan here and idle", gpus.look, needs=("gpus", "plan")),
    Check("disk", "is there room for weights and images", disk.look, needs=("profile",)),
    Check(
        "mounts", "can each service read what is mounted for it", mounts.look, "docker", ("stack", "docker")
    ),
    Check("ports", "are the ports free, or held by this platform", ports.look, needs=("stack", "docker")),
    Check("certificate", "can the certificate be served", certificate.look, needs=("profile",)),
    Check("hub", "may the models be fetched from the hub", hub.look, needs=("profile",), timeout_s=60.0),
    Check("limits", "is there enough shared and locked memory", limits.look, needs=("stack", "docker")),
    Check("clock", "is the clock right", clock.look),
)
