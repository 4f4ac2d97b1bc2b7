"""The report page of an evaluation: charts, faces and volumes in one HTML file."""
