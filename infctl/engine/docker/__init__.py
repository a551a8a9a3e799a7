"""Runs a stack as containers, through the Docker SDK. What is decided is pure; `hands` and its like act.

    client, ssh, refusals   the connection, and every error of it in words
    payload, fields         Container -> what the engine is asked for; what it says -> the same shape
    observe, reconcile      one look, then what to do and why
    hands, rollout          one container at a time; one that serves, replaced

The SDK is imported when an engine is asked, not before: `infctl --help` does not wait for it.
"""
