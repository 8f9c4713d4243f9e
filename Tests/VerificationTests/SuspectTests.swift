import Support
import Testing
import Verification

@Suite("Suspects") struct SuspectTests {
  private func report(layers: [Double], tensors: [TensorError]) -> VerificationReport {
    VerificationReport(
      Sample.subject(
        layers: layers.enumerated().map { LayerError(layer: $0, relativeError: $1) }, tensors: tensors),
      scores: Sample.scores())
  }

  private func noise(_ decibels: (_ layer: Int, _ name: String) -> Double) -> [TensorError] {
    (0..<8).flatMap { layer in
      ["q_proj", "k_proj", "v_proj"].map { name in
        TensorError(name: "model.layers.\(layer).self_attn.\(name).weight", sqnrDecibels: decibels(layer, name))
      }
    }
  }

  /// What quantization does everywhere is nobody's fault: errors that grow by some twenty per cent from layer to layer, noise
  /// that differs by a decibel.
  @Test("an evenly quantized model has none")
  func even() {
    let layers = [0.01, 0.013, 0.0145, 0.016, 0.019, 0.02, 0.023, 0.022]
    let found = report(layers: layers, tensors: noise { layer, _ in 31 + Double(layer * 7 % 5) / 4 }).suspects
    #expect(found.isEmpty, "\(found)")
    let uneven = noise { _, name in name == "v_proj" ? 18 : 31 }
    #expect(report(layers: layers, tensors: uneven).suspects.isEmpty)
  }

  @Test("one tensor and its layer are named, the tensor first", arguments: [0, 3, 7])
  func one(_ bad: Int) throws {
    let layers: [Double] = (0..<8).map { (layer: Int) -> Double in
      let small = Double(layer) / 1000
      return layer < bad ? 0.01 + small : 0.4 + small
    }
    let tensors = noise { layer, name in layer == bad && name == "k_proj" ? -2.5 : 31 + Double(layer % 3) / 10 }
    let found = report(layers: layers, tensors: tensors).suspects
    #expect(found.first?.name == "model.layers.\(bad).self_attn.k_proj.weight")
    #expect(found.first?.kind == .tensor && found.first?.layer == bad)
    // (31.1 − −2.5)/1: the others' spread is below the smallest scale of 1 dB.
    #expect(isClose(found.first?.z, 33.6, 0.01))
    // The first layer has none before it to compare with.
    #expect(found.count == (bad == 0 ? 1 : 2))
    if bad > 0 { #expect(found[1].kind == .layer && found[1].layer == bad) }
  }

  /// Of a model whose types were chosen tensor by tensor: int4 in half of the layers, FP8 in the others.
  @Test("noise is compared among tensors of one type")
  func mixed() {
    func tensors(_ odd: Int?) -> [TensorError] {
      (0..<16).map { layer in
        let isInt4 = layer % 2 == 0
        let level = (isInt4 ? 19.0 : 31) + Double(layer % 3) / 10 - (layer == odd ? 6 : 0)
        return TensorError(
          name: "model.layers.\(layer).mlp.down_proj.weight", sqnrDecibels: level,
          storage: isInt4 ? "int4 block 1x128" : "F8_E4M3 row")
      }
    }
    #expect(report(layers: [], tensors: tensors(nil)).suspects.isEmpty)
    // An FP8 tensor as noisy as the int4 ones would be, were it not for its type.
    let found = report(layers: [], tensors: tensors(5)).suspects
    #expect(found.map(\.layer) == [5] && found[0].explanation.contains("stored as F8_E4M3 row"))
    // Without the types all int4 tensors, or none, stood out.
    let untold = tensors(5).map { TensorError(name: $0.name, sqnrDecibels: $0.sqnrDecibels) }
    #expect(report(layers: [], tensors: untold).suspects != found)
  }

  @Test("the only tensors that differ are suspects, and the first layer that differs")
  func only() {
    let layers: [Double] = [0, 0, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01]
    let tensors = noise { layer, name in layer == 2 && name == "q_proj" ? 45 : .infinity }
    let found = report(layers: layers, tensors: tensors).suspects
    #expect(found.map(\.name) == ["model.layers.2.self_attn.q_proj.weight", "layer 2"])
    #expect(found.allSatisfy { $0.z == nil })
    #expect(report(layers: layers.map { _ in 0 }, tensors: noise { _, _ in .infinity }).suspects.isEmpty)
  }

  @Test("what is not finite comes first, and a head of noise is named")
  func broken() {
    var tensors = noise { _, _ in 31 }
    tensors.append(TensorError(name: "lm_head.weight", sqnrDecibels: 3))
    tensors[4].sqnrDecibels = .nan
    let found = report(layers: [], tensors: tensors).suspects
    #expect(found.map(\.name) == [tensors[4].name, "lm_head.weight"])
  }

  @Test("the windows that drift most, worst first, with their worst token")
  func windows() throws {
    let scores = Sample.scores(sizes: [3, 3, 3], drift: { [1, 1, 1, -1, -1, -1, 0.5, 4, 0][$0] })
    let worst = Sample.report(scores).worstWindows
    #expect(worst.map(\.window) == [2, 0])
    #expect(isClose(worst[0].lnRatio, 1.5) && isClose(worst[1].lnRatio, 1))
    #expect(worst[0].worstPosition == 2 && worst[0].worstDrift == 4 && worst[0].tokens == 3)
    #expect(Sample.report(Sample.identical()).worstWindows.isEmpty)
  }
}
