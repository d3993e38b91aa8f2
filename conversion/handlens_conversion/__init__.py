"""The workshop of handlens: published weights and photographs in, quantized TFLite models with their cards out.

It meets the server and the devices through files only. `handlens-convert --help` lists its commands.
"""
