"""GeoShapes: generated scenes of roads, fields, buildings and water, as GeoTIFF and GeoPackage."""
