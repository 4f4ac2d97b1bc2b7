"""The builder of the bundled open face: `synergy assets build` makes the asset, `synergy assets report` measures it."""
