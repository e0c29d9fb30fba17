"""Image-to-image translation: pictures made realistic, or of another kind."""
