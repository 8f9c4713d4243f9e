/// How a linear module's integer codes lie in safetensors.
public enum IntegerLayout: String, Sendable, Hashable, CaseIterable {
  /// compressed-tensors `pack-quantized`: words along the input.
  case compressedTensors = "compressed-tensors"
  /// GPTQ, transposed, zero points stored less one: what AutoGPTQ writes and all read.
  case gptq
  /// GPTQ with zero points as they are.
  case gptqV2 = "gptq_v2"
  /// AWQ for GEMM kernels: transposed, words across outputs in an order of their own. Has zero points always.
  case awq

  /// Scales are F16.
  public var storesF16Scales: Bool { self != .compressedTensors }

  public var isGPTQ: Bool { self == .gptq || self == .gptqV2 }
}
