"""Text for translation: vocabularies, parallel files, a synchronous grammar, BLEU and chrF on token ids."""
