"""From `-f` to what doctor looks at: as much of profile, plan and stack as there is."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from infctl.cli.options import profile_files
from infctl.doctor.case import Case
from infctl.doctor.docker import look as look_at_docker
from infctl.doctor.once import Once
from infctl.errors import InfctlError, ProfileError

if TYPE_CHECKING:
    from infctl.cli.project import Project
    from infctl.stack import Stack


def case(files: list[Path] | None, *, offline: bool) -> Case:
    """Raises UsageError where there is no profile at all; one that is wrong is for the checks to tell."""
    from infctl.cli.project import open_project

    paths = profile_files(files)
    bare = Case(
        paths,
        os.environ,
        shell=dict(os.environ),
        offline=offline,
        docker=Once(lambda: look_at_docker(os.environ)),
    )
    try:
        project = open_project(files)
    except ProfileError as error:
        return replace(bare, wrong={"profile": error})
    env = {**project.env, "HF_HUB_OFFLINE": "1"} if offline else project.env
    known = replace(bare, env=env, loaded=project.loaded, layout=project.layout)
    return _planned(known, project)


def _planned(known: Case, project: Project) -> Case:
    """With a plan and a stack; without a plan still with what would run, where counting is enough for it."""
    from infctl.cli.assemble import assemble

    try:
        built = assemble(project.loaded, project.layout, known.env)
    except InfctlError as error:
        return replace(known, wrong={"plan": error}, stack=_at_a_glance(known, project))
    return replace(known, plan=built.plan, stack=built.stack, rendered=built.files)


def _at_a_glance(known: Case, project: Project) -> Stack | None:
    from infctl.cli.assemble import assemble

    try:
        return assemble(project.loaded, project.layout, known.env, sized=False).stack
    except InfctlError:
        return None
