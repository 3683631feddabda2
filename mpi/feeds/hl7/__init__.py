"""HL7 v2 ADT: messages of patient administration systems read, answered, and made into what the index keeps."""
