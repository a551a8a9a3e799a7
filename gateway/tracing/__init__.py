"""Traces for OpenTelemetry, where `tracing.endpoint` is set; nothing here is loaded where it is not.

    serve.py     Serve and Attempts that also put down what happened, and pass the trace on to the backend
    spans.py     what was put down -> spans: names, attributes, status. Pure
    export.py    a bounded queue, a thread, OTLP over HTTP

Off is another class, not a question: `app` takes Serve or TracedServe at the start. On, the event loop makes
ids and appends to lists; spans are made and sent in the thread.
"""
