"""What a sample is: schema, reading of tables, codecs between rows and tensors."""
