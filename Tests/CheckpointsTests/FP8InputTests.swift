import ByteIO
import Checkpoints
import Foundation
import Llama
import Quantization
import Support
import Tensors
import Testing

@Suite struct FP8InputTests {
  /// A way to store the weights with a type of scales.
  struct Storage: Sendable, CustomTestStringConvertible {
    let layout: FP8Layout
    let scaleType: ElementType
    var testDescription: String { "\(layout) with \(scaleType) scales" }

    static let all = FP8Layout.allCases.flatMap { layout in
      [ElementType.bf16, .f16, .f32].map { Storage(layout: layout, scaleType: $0) }
    }
  }

  /// Blocks of 16 leave ragged edges in both directions: 40 columns, 44 feed-forward rows. The one key/value head has
  /// less than a block.
  static let dimensions = TinyCheckpoint.Dimensions {
    $0.hidden = 40
    $0.heads = 5
    $0.keyValueHeads = 1
    $0.feedForward = 44
  }

  @Test("codes times their scales are the values", arguments: Storage.all)
  func dequantizes(_ storage: Storage) throws {
    var model = TinyCheckpoint(Self.dimensions)
    model.storeAsFP8(storage.layout, scaleType: storage.scaleType)
    let stored = model.tensors
    try model.opened { checkpoint in
      #expect(checkpoint.notes.isEmpty)
      var quantized = 0
      for tensor in checkpoint.tensors where tensor.quantization != nil {
        quantized += 1
        let name = NamingDialect.huggingFace.name(for: tensor.role)
        let weight = stored[name]
        let scales = stored[String(name.dropLast("weight".count)) + storage.layout.scaleSuffix]
        let factors = scales.elementType.values(of: scales.bytes)
        let columns = weight.shape[1]
        var expected = weight.bytes.enumerated().map { index, code in
          let (row, column) = (index / columns, index % columns)
          return e4m3Value(code)
            * factors[storage.layout.scaleIndex(row: row, column: column, columns: columns, block: 16)]
        }
        if tensor.isReordered { expected = interleaved(expected, headRows: 8, columns: columns) }
        let found = try tensor.values()
        #expect(found == expected, "\(name)")
        #expect(tensor.quantization?.scaleType == storage.scaleType && tensor.elementType == .f8e4m3)
      }
      #expect(quantized == 14, "seven matrices of two layers; embedding, norms and head stay")
    }
  }

  @Test("activations are those that the configuration states", arguments: FP8Layout.allCases)
  func readsActivations(_ layout: FP8Layout) throws {
    var model = TinyCheckpoint(Self.dimensions)
    model.storeAsFP8(layout)
    let expected: ActivationScheme =
      switch layout {
      case .compressedChannel, .perTensor: .dynamicPerToken(upperBound: nil)
      case .fbgemm: .dynamicPerToken(upperBound: 1200)
      case .compressedTensor: .staticPerTensor
      case .compressedBlock, .fineGrained: .dynamicPerGroup(16)
      }
    try model.opened { #expect($0.tensor(.layer(1, .up))?.quantization?.activations == expected) }
  }

  @Test func scalesInOneDimensionAreTaken() throws {
    // FBGEMM's own form; the written form has two.
    var model = TinyCheckpoint()
    model.storeAsFP8(.fbgemm, scaleType: .f32)
    let values = try model.opened { try $0.tensors.map { try $0.values() } }
    for index in model.tensors.indices where model.tensors[index].name.hasSuffix("weight_scale") {
      model.tensors[index].shape.removeLast()
    }
    let flat = try model.opened { try $0.tensors.map { try $0.values() } }
    #expect(flat == values)
  }

  @Test func modulesThatAreNotConvertedStay() throws {
    var model = TinyCheckpoint()
    let plain = model.tensors
    model.storeAsFP8(.compressedChannel)
    let kept = ["model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"]
    for name in kept {
      model[name + ".weight"] = plain[name + ".weight"]
      model[name + ".weight_scale"] = nil
    }
    model.configuration["quantization_config"] = FP8Layout.compressedChannel.document(
      ignoring: ["lm_head"] + kept, block: 16)
    try model.opened { checkpoint in
      #expect(checkpoint.tensors.filter { $0.quantization != nil }.count == 12)
      #expect(checkpoint.tensor(.layer(0, .query))?.elementType == .bf16)
    }
  }

  // MARK: The libraries' own files

  @Test func aModelOfTheLibraryIsRead() throws {
    let folder = Fixtures.golden("model/fp8_dynamic")
    let stored = try TinyCheckpoint.tensors(ofFile: folder.appending(path: "model.safetensors"))
    let checkpoint = try Checkpoint(path: folder.path)
    #expect(checkpoint.quantization?.method == "compressed-tensors")
    for tensor in checkpoint.tensors {
      let name = NamingDialect.huggingFace.name(for: tensor.role)
      var expected = stored[name].elementType.values(of: stored[name].bytes)
      let columns = stored[name].shape.count == 2 ? stored[name].shape[1] : 1
      if tensor.quantization != nil {
        let scales = stored[name + "_scale"]
        let factors = scales.elementType.values(of: scales.bytes)
        expected = expected.enumerated().map { $1 * factors[$0 / columns] }
      }
      if tensor.isReordered { expected = interleaved(expected, headRows: 16, columns: columns) }
      #expect(try tensor.values() == expected, "\(name)")
    }
    #expect(checkpoint.tensors.filter { $0.quantization != nil }.count == 14)
  }

  @Test func theLibrarysModelIsNearTheOneItWasMadeFrom() throws {
    let quantized = try Checkpoint(path: Fixtures.golden("model/fp8_dynamic").path)
    let original = try Checkpoint(path: Fixtures.golden("model/bf16").path)
    for (tensor, source) in zip(quantized.tensors, original.tensors) {
      let (found, expected) = (try tensor.values(), try source.values())
      let energy = expected.reduce(0) { $0 + $1 * $1 }
      let error = zip(found, expected).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
      // e4m3 has three bits of fraction: a relative error of at most 2^-4 in each normal code.
      #expect(error <= energy / 256, "\(tensor.role.canonicalText)")
      if tensor.quantization == nil { #expect(error == 0) }
    }
  }

  /// Puts a matrix that compressed-tensors quantized into a model and reads it back.
  private func golden(
    _ file: String, as role: TensorRole, in dimensions: TinyCheckpoint.Dimensions, _ layout: FP8Layout
  ) throws -> (found: [Float], expected: [Float]) {
    let name = NamingDialect.huggingFace.name(for: role)
    let module = NamingDialect.huggingFace.moduleName(of: role)
    let stored = try TinyCheckpoint.tensors(ofFile: Fixtures.golden(file))
    var model = TinyCheckpoint(dimensions)
    for (part, suffix) in [("weight", "weight"), ("weight_scale", layout.scaleSuffix)] {
      var tensor = stored[part]
      tensor.name = module + "." + suffix
      model[tensor.name] = tensor
    }
    let others = model.tensors.map { String($0.name.dropLast(".weight".count)) }.filter { $0 != module }
    model.configuration["quantization_config"] = layout.document(
      ignoring: others.filter { !$0.contains("norm") && !$0.hasPrefix(module) && !$0.contains("embed") }, block: 128)
    return try model.opened { checkpoint in
      let tensor = try #require(checkpoint.tensor(role))
      #expect(tensor.quantization != nil && model.tensors[name].elementType == .f8e4m3)
      // The library rounds each product to the scales' type, BF16.
      let bytes = ElementType.bf16.bytes(of: try tensor.values())
      return (ElementType.bf16.values(of: bytes), ElementType.bf16.values(of: stored["dequant"].bytes))
    }
  }

  /// DeepSeek's layout holds the same numbers under another name of the scales.
  @Test("blocks with ragged edges are the library's", arguments: [FP8Layout.compressedBlock, .fineGrained])
  func readsBlocks(_ layout: FP8Layout) throws {
    let dimensions = TinyCheckpoint.Dimensions {
      ($0.hidden, $0.heads, $0.headDimension, $0.feedForward, $0.keyValueHeads) = (200, 5, 40, 160, 1)
    }
    let (found, expected) = try golden(
      "formats/fp8_block128_ragged.safetensors", as: .layer(1, .gate), in: dimensions, layout)
    #expect(found == expected)
  }

  @Test func oneScalePerTensorIsTheLibrarys() throws {
    let dimensions = TinyCheckpoint.Dimensions {
      ($0.hidden, $0.heads, $0.headDimension, $0.keyValueHeads) = (256, 16, 16, 1)
    }
    let (found, expected) = try golden(
      "formats/fp8_tensor.safetensors", as: .layer(0, .key), in: dimensions, .compressedTensor)
    #expect(found == interleaved(expected, headRows: 16, columns: 256))
  }
}
