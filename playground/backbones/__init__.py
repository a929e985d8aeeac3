"""The families of backbones; `playground.backbone.create` makes them by name."""
