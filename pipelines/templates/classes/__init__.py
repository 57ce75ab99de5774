"""Parts of templates that need a file of their own: labels, decoders, answers, judgements."""
