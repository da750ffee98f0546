"""The HTTP API: one noun a module; `app.create_app` puts them together."""
