"""GPT-2 and Llama in the files of Hugging Face, read and written without torch."""
