"""How models are called: the HTTP application, the engine, the router, wire schemas."""
