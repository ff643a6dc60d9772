"""Whisper in the format of CTranslate2, natively in the library `faster-whisper`, on the CPU or through CUDA.

https://github.com/SYSTRAN/faster-whisper
"""
