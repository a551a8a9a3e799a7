"""The gateway: an OpenAI-compatible proxy in front of vLLM servers. Read `gateway.serve` first."""
