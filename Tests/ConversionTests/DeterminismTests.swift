import Conversion
import Foundation
import Quantization
import Support
import Tensors
import Testing

@Suite("Determinism")
struct DeterminismTests {
  static let targets: [TargetType] = [
    .unchanged, .element(.f32), .element(.f16), .fp8(.fp8), .fp8(.fp8Compat), .fp8(.fp8Meta),
  ]

  /// Tensors of several tiles, and heads that tiles cut.
  private static var synthetic: SyntheticModel {
    var model = SyntheticModel()
    (model.hidden, model.layers, model.heads, model.keyValueHeads) = (768, 3, 8, 4)
    (model.headDimension, model.feedForward, model.vocabulary) = (128, 1000, 700)
    return model
  }

  @Test("Every file of the output is the same on 1, 2 and 3 threads")
  func threads() throws {
    let model = try ModelFolder(Self.synthetic)
    for target in Self.targets {
      var outputs: [[String: [UInt8]]] = []
      for threads in 1...3 {
        let options = ConversionOptions(target: target, maximumShardSize: 6_000_000, threads: threads)
        let output = model.beside("\(threads)")
        try convert(model.path, to: output, options)
        outputs.append(try contents(ofDirectory: output))
        try FileManager.default.removeItem(atPath: output)
      }
      #expect(outputs[0].count > 5 && outputs[0].keys.contains("llama-convert.json"))
      for name in outputs[0].keys {
        #expect(outputs[0][name] == outputs[1][name], "\(name) of \(target)")
        #expect(outputs[0][name] == outputs[2][name], "\(name) of \(target)")
      }
      #expect(outputs[0].keys == outputs[1].keys && outputs[0].keys == outputs[2].keys)
    }
  }

  /// Neither the output's name nor the input's place is in the bytes.
  @Test("The same model elsewhere gives the same directory")
  func places() throws {
    let first = try ModelFolder()
    let second = try ModelFolder()
    try convert(first.path, to: first.beside("one"), .fp8(.fp8))
    try convert(second.path, to: second.beside("another"), .fp8(.fp8, threads: 3))
    #expect(try contents(ofDirectory: first.beside("one")) == contents(ofDirectory: second.beside("another")))
  }
}
