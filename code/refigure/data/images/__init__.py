"""Images: recipes, batches on the device, augmentation."""
