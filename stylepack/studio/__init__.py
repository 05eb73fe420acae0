"""The page on the own machine where packs are mixed with sliders: `stylepack studio`."""
