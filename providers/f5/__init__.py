"""F5-TTS: speech in the voice of whoever is heard in a few seconds of sound, natively in PyTorch.

The code is under the MIT licence. The weights that its authors publish are under CC-BY-NC 4.0: not for commercial use.
https://github.com/SWivid/F5-TTS
"""
