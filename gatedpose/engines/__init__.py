"""The same network faster: folded, in eight bits, compiled, or run by a kept engine."""
