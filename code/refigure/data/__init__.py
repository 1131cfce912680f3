"""Images from source to device: sources, recipes, prepared arrays, augmentation."""
