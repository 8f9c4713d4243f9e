import ByteIO
import Checkpoints
import Conversion
import Foundation
import Quantization
import Support
import Tensors
import Testing

/// Integer codes from layout to layout: what is only laid out anew stays what it is.
@Suite("Layouts of integer codes")
struct IntegerTests {
  let folder: TemporaryFolder
  init() throws { folder = try TemporaryFolder() }

  private func path(_ name: String) -> String { folder.file(name).path }

  /// - Returns: the output's digest.
  @discardableResult
  private func made(_ input: String, _ output: String, _ options: ConversionOptions) throws -> String {
    try convert(input, to: path(output), options).digest.model
  }

  /// The golden model in F16, so that scales are F16 in every layout and nothing is lost on the way.
  private func half() throws -> String {
    try made(Fixtures.golden("model/bf16").path, "f16", ConversionOptions(target: .element(.f16)))
    return path("f16")
  }

  private static func laidOut(_ layout: IntegerLayout) -> ConversionOptions {
    ConversionOptions(layout: .huggingFace, integers: IntegerOptions(layout: layout))
  }

  struct Chain: Sendable, CustomTestStringConvertible {
    let bits: Int
    let groups: IntegerOptions.GroupSize
    let isAsymmetric: Bool
    let layouts: [IntegerLayout]
    var testDescription: String { "int\(bits) \(groups)\(isAsymmetric ? " asymmetric" : ""), \(layouts)" }
  }

  static let chains = [
    Chain(bits: 4, groups: .elements(32), isAsymmetric: true, layouts: [.gptqV2, .awq, .gptq, .compressedTensors]),
    Chain(bits: 4, groups: .elements(32), isAsymmetric: true, layouts: [.awq, .compressedTensors]),
    Chain(bits: 4, groups: .elements(32), isAsymmetric: false, layouts: [.gptq, .gptqV2, .compressedTensors]),
    Chain(bits: 4, groups: .channel, isAsymmetric: false, layouts: [.gptq, .compressedTensors]),
    Chain(bits: 4, groups: .channel, isAsymmetric: true, layouts: [.gptqV2, .gptq, .compressedTensors]),
    Chain(bits: 8, groups: .elements(32), isAsymmetric: false, layouts: [.gptq, .compressedTensors]),
  ]

  @Test(
    "Through other layouts and a compact file and back: every digest the same, the last file byte for byte",
    arguments: chains)
  func roundTrip(_ chain: Chain) throws {
    let wishes = IntegerOptions(
      method: .mse, groupSize: chain.groups, isAsymmetric: chain.isAsymmetric, layout: .compressedTensors)
    let digest = try made(
      try half(), "first", ConversionOptions(target: .integers(bits: chain.bits), integers: wishes))
    var last = "first"
    for (index, layout) in chain.layouts.enumerated() {
      #expect(try made(path(last), "\(index)", Self.laidOut(layout)) == digest, "\(layout)")
      last = "\(index)"
      #expect(
        try made(path(last), "\(index).gguf", ConversionOptions(layout: .compact)) == digest, "\(layout), compact")
    }
    #expect(
      try Fixtures.bytes(folder.file(last + "/model.safetensors"))
        == Fixtures.bytes(folder.file("first/model.safetensors")))
    try made(path(last + ".gguf"), "back", ConversionOptions(layout: .huggingFace))
    #expect(
      try Fixtures.bytes(folder.file("back/model.safetensors"))
        == Fixtures.bytes(folder.file("first/model.safetensors")))
    for name in ["config.json"] {
      #expect(try Fixtures.bytes(folder.file("back/" + name)) == Fixtures.bytes(folder.file("first/" + name)))
    }
  }

  @Test("A compact file holds the codes that the directory holds", arguments: [false, true])
  func compact(_ isAsymmetric: Bool) throws {
    let model = Fixtures.golden("model/bf16").path
    var wishes = IntegerOptions(method: .rtn, groupSize: .elements(32), isAsymmetric: isAsymmetric)
    let inside = try made(
      model, "inside.gguf", ConversionOptions(target: .integers(bits: 4), layout: .compact, integers: wishes))
    wishes.layout = .compressedTensors
    let outside = try made(model, "outside", ConversionOptions(target: .integers(bits: 4), integers: wishes))
    #expect(inside == outside)
  }

  @Test(
    "The same bytes on 1, 2 and 3 threads, and cut into shards the same tensors",
    arguments: [IntegerLayout.compressedTensors, .gptq, .awq])
  func threads(_ layout: IntegerLayout) throws {
    let model = Fixtures.golden("model/bf16").path
    let wishes = IntegerOptions(groupSize: .elements(32), isAsymmetric: true, layout: layout)
    var digests: Set<String> = []
    var bytes: Set<[UInt8]> = []
    for threads in [1, 2, 3] {
      let options = ConversionOptions(target: .integers(bits: 4), integers: wishes, threads: threads)
      digests.insert(try made(model, "\(threads)", options))
      bytes.insert(try Fixtures.bytes(folder.file("\(threads)/model.safetensors")))
    }
    #expect(digests.count == 1 && bytes.count == 1)
    digests.insert(
      try made(
        model, "shards", ConversionOptions(target: .integers(bits: 4), maximumShardSize: 30_000, integers: wishes)))
    #expect(digests.count == 1)
    #expect(FileManager.default.fileExists(atPath: path("shards/model.safetensors.index.json")))
  }

  @Test("Dequantized, every layout's values are code less zero point times scale, computed by hand")
  func values() throws {
    let wishes = IntegerOptions(method: .rtn, groupSize: .elements(32), isAsymmetric: true, layout: .compressedTensors)
    try made(try half(), "int4", ConversionOptions(target: .integers(bits: 4), integers: wishes))
    let stored = try SafetensorsBytes(folder.file("int4/model.safetensors"))
    let module = "model.layers.0.mlp.up_proj."
    let (codes, scales, zeros) = (
      try stored[module + "weight_packed"].bytes, try stored[module + "weight_scale"].bytes,
      try stored[module + "weight_zero_point"].bytes
    )
    // [160, 64] in groups of 32: 32 bytes of codes and two scales in a row; zero points of eight rows in a word.
    func expected(_ row: Int, _ column: Int) -> Float {
      let code = Int(codes[row * 32 + column / 2] >> UInt8(4 * (column % 2)) & 15)
      let group = column / 32
      let word = (row / 8 * 2 + group) * 4
      let zero = Int(zeros[word + row % 8 / 2] >> UInt8(4 * (row % 2)) & 15)
      let place = (row * 2 + group) * 2
      let scale = Float(Float16(bitPattern: UInt16(scales[place]) | UInt16(scales[place + 1]) << 8))
      return Float(code - zero) * scale
    }
    for layout in [IntegerLayout.gptq, .gptqV2, .awq] {
      try made(path("int4"), layout.rawValue, Self.laidOut(layout))
      try made(path(layout.rawValue), layout.rawValue + "-f32", ConversionOptions(target: .element(.f32)))
      let values = try SafetensorsBytes(folder.file(layout.rawValue + "-f32/model.safetensors"))[module + "weight"]
        .bytes
      for (row, column) in [(0, 0), (0, 1), (7, 31), (8, 32), (9, 63), (100, 17), (159, 63)] {
        let start = (row * 64 + column) * 4
        let pattern = values[start..<start + 4].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        #expect(Float(bitPattern: pattern) == expected(row, column), "\(layout) [\(row), \(column)]")
      }
    }
  }
}
