public import ByteIO
public import Tensors

/// The ways in which Hugging Face checkpoints store FP8 weights.
public enum FP8Layout: String, Sendable, CaseIterable, CustomStringConvertible {
  /// compressed-tensors `float-quantized`, one scale per output channel.
  case compressedChannel
  /// compressed-tensors `float-quantized`, one scale per tensor.
  case compressedTensor
  /// compressed-tensors `float-quantized`, blocks.
  case compressedBlock
  /// `fbgemm_fp8`: one scale per row.
  case fbgemm
  /// `fp8` with `weight_block_size`, scales called `weight_scale_inv`.
  case fineGrained
  /// `fp8` without blocks: one scale per tensor.
  case perTensor

  public var description: String { rawValue }

  public var scaleSuffix: String { self == .fineGrained ? "weight_scale_inv" : "weight_scale" }

  public var hasBlocks: Bool { self == .compressedBlock || self == .fineGrained }

  /// Shape of the scales of a weight.
  public func scaleShape(rows: Int, columns: Int, block: Int) -> [Int] {
    switch self {
    case .compressedChannel, .fbgemm: [rows, 1]
    case .compressedTensor, .perTensor: [1]
    case .compressedBlock, .fineGrained: [(rows + block - 1) / block, (columns + block - 1) / block]
    }
  }

  /// Index of the scale that multiplies an element.
  public func scaleIndex(row: Int, column: Int, columns: Int, block: Int) -> Int {
    switch self {
    case .compressedChannel, .fbgemm: row
    case .compressedTensor, .perTensor: 0
    case .compressedBlock, .fineGrained: row / block * ((columns + block - 1) / block) + column / block
    }
  }

  /// `quantization_config`, as the libraries write it.
  public func document(ignoring ignored: [String] = ["lm_head"], block: Int) -> JSONValue {
    let names: JSONValue = .array(ignored.map { .string($0) })
    let size: JSONValue = [.number(JSONNumber(block)), .number(JSONNumber(block))]
    switch self {
    case .compressedChannel:
      return compressed(names, ["strategy": "channel"], ["strategy": "token", "dynamic": true])
    case .compressedTensor:
      return compressed(names, ["strategy": "tensor"], ["strategy": "tensor", "dynamic": false])
    case .compressedBlock:
      return compressed(
        names, ["strategy": "block", "block_structure": size],
        ["strategy": "group", "group_size": .number(JSONNumber(block)), "dynamic": true])
    case .fbgemm:
      return ["quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": names]
    case .fineGrained:
      return [
        "quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": size,
        "modules_to_not_convert": names,
      ]
    case .perTensor:
      return ["quant_method": "fp8", "activation_scheme": "dynamic", "modules_to_not_convert": names]
    }
  }

  private func compressed(_ ignored: JSONValue, _ weights: JSONValue, _ activations: JSONValue) -> JSONValue {
    func arguments(_ special: JSONValue) -> JSONValue {
      var object = JSONObject([
        ("num_bits", 8), ("type", "float"), ("symmetric", true), ("group_size", nil), ("dynamic", false),
      ])
      for (key, value) in special.object?.members ?? [] { object[key] = value }
      return .object(object)
    }
    return [
      "quant_method": "compressed-tensors", "format": "float-quantized", "quantization_status": "compressed",
      "ignore": ignored,
      "config_groups": [
        "group_0": [
          "targets": ["Linear"], "weights": arguments(weights), "input_activations": arguments(activations),
          "output_activations": nil,
        ]
      ],
    ]
  }
}

extension TinyCheckpoint {
  /// Replaces the layers' matrices (not embedding, norms and head) by random codes, every finite one, with random scales
  /// beside them, and says so in the configuration.
  /// - Parameter scaleType: F32, BF16 or F16.
  public mutating func storeAsFP8(
    _ layout: FP8Layout, scaleType: ElementType = .bf16, block: Int = 16, seed: UInt64 = 3
  ) {
    var random = SeededRandom(seed: seed)
    var result: [Tensor] = []
    for tensor in tensors {
      guard tensor.shape.count == 2, tensor.name.hasPrefix("model.layers.") else {
        result.append(tensor)
        continue
      }
      let codes = (0..<tensor.shape[0] * tensor.shape[1]).map { _ -> UInt8 in
        UInt8.random(in: 0...0x7E, using: &random) | (Bool.random(using: &random) ? 0x80 : 0)
      }
      let shape = layout.scaleShape(rows: tensor.shape[0], columns: tensor.shape[1], block: block)
      let scales = (0..<shape.reduce(1, *)).map { _ in Float.random(in: 1e-4...1e-3, using: &random) }
      result.append(Tensor(tensor.name, .f8e4m3, tensor.shape, bytes: codes))
      let name = String(tensor.name.dropLast("weight".count)) + layout.scaleSuffix
      result.append(Tensor(name, scaleType, shape, bytes: scaleType.bytes(of: scales)))
    }
    tensors = result
    configuration["quantization_config"] = layout.document(block: block)
  }
}
