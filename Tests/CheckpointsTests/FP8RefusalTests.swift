import ByteIO
import Checkpoints
import Support
import Tensors
import Testing

@Suite struct FP8RefusalTests {
  private static let weight = "model.layers.1.mlp.up_proj.weight"

  private func model(_ layout: FP8Layout, block: Int = 16) -> TinyCheckpoint {
    var model = TinyCheckpoint()
    model.storeAsFP8(layout, block: block)
    return model
  }

  private func scale(_ layout: FP8Layout) -> String { "model.layers.1.mlp.up_proj." + layout.scaleSuffix }

  @Test("missing scales are an error that names them", arguments: FP8Layout.allCases)
  func refusesMissingScales(_ layout: FP8Layout) throws {
    var model = model(layout)
    model[scale(layout)] = nil
    let failure = try #require(try model.failure())
    #expect(failure.message.contains(scale(layout)) && failure.message.contains(Self.weight))
  }

  @Test("scales under the other name are missing", arguments: [FP8Layout.compressedChannel, .fineGrained])
  func refusesRenamedScales(_ layout: FP8Layout) throws {
    var model = model(layout)
    model.change(scale(layout)) {
      $0.name = $0.name.hasSuffix("_inv") ? String($0.name.dropLast("_inv".count)) : $0.name + "_inv"
    }
    #expect(try #require(try model.failure()).message.contains(scale(layout)))
  }

  @Test(
    "scales of another shape are an error",
    arguments: FP8Layout.allCases, [[48, 2], [1, 48], [2, 1], [2, 3], [0], [48, 1, 1]])
  func refusesShapes(_ layout: FP8Layout, _ shape: [Int]) throws {
    var model = model(layout)
    model.reshape(scale(layout), to: shape)
    let failure = try #require(try model.failure())
    #expect(failure.message.contains(scale(layout)) && failure.message.contains("shape"))
  }

  @Test("scales that are no numbers of ours are refused", arguments: [ElementType.i32, .f64, .f8e4m3, .u8])
  func refusesScaleTypes(_ type: ElementType) throws {
    var model = model(.compressedChannel)
    model.change(scale(.compressedChannel)) {
      $0.elementType = type
      $0.bytes = [UInt8](repeating: 1, count: 48 * type.bits / 8)
    }
    let failure = try #require(try model.failure())
    #expect(failure.item == scale(.compressedChannel) && failure.message.contains(type.rawValue))
  }

  @Test("a weight that is not FP8 though the configuration says so is refused", arguments: FP8Layout.allCases)
  func refusesUnquantizedWeights(_ layout: FP8Layout) throws {
    var model = model(layout)
    model[Self.weight] = TinyCheckpoint().tensors[Self.weight]
    let failure = try #require(try model.failure())
    #expect(failure.item == Self.weight && failure.message.contains("BF16") && failure.message.contains("FP8"))
  }

  @Test func codesWithoutAConfigurationAreRefused() throws {
    var model = model(.compressedChannel)
    model.configuration["quantization_config"] = nil
    // With their scales, these are what nothing explains; the message must not advise to remove them.
    let failure = try #require(try model.failure())
    #expect(failure.message.contains("weight_scale") && failure.message.contains("quantization_config"))
    #expect(!failure.message.contains("remove"))
    // Without, the codes themselves are.
    model.tensors.removeAll { $0.name.hasSuffix("weight_scale") }
    let codes = try #require(try model.failure())
    #expect(codes.message.contains("F8_E4M3") && codes.advice?.contains("quantization_config") == true)
  }

  @Test func anIgnoredModuleWithCodesIsRefused() throws {
    var model = model(.compressedChannel)
    model.configuration["quantization_config"] = FP8Layout.compressedChannel.document(
      ignoring: ["lm_head", "re:.*up_proj"], block: 16)
    #expect(try #require(try model.failure()).message.contains("up_proj.weight_scale"))
  }

  @Test("blocks that cut heads are refused, since their rows cannot be reordered", arguments: [12, 20, 4])
  func refusesBlocksThatCutHeads(_ block: Int) throws {
    for layout in [FP8Layout.compressedBlock, .fineGrained] {
      let failure = try #require(try model(layout, block: block).failure())
      #expect(failure.item == "model.layers.0.self_attn.q_proj.weight" && failure.message.contains("\(block) rows"))
    }
    #expect(try model(.fineGrained, block: 8).failure() == nil)
  }

  @Test func anIgnoreEntryThatMatchesNothingIsNoted() throws {
    var model = model(.compressedChannel)
    model.configuration["quantization_config"] = FP8Layout.compressedChannel.document(
      ignoring: ["lm_head", "model.vision_tower", "re:.*router"], block: 16)
    try model.opened { checkpoint in
      #expect(checkpoint.notes.count == 2)
      #expect(checkpoint.notes[0].contains("model.vision_tower") && checkpoint.notes[1].contains("re:.*router"))
    }
  }

  @Test func aTiedHeadMayBeIgnored() throws {
    var model = TinyCheckpoint(.init { $0.isTied = true })
    model.storeAsFP8(.compressedChannel)
    try model.opened { #expect($0.notes.isEmpty) }
  }
}
