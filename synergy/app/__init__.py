"""The web app of `synergy app`: a page that analyses photos and short clips. Needs the extra `app`."""
