internal import ArgumentParser
internal import ByteIO
internal import CommandLineSupport
internal import Foundation
internal import Kernels

/// `llama-verify speed`: what this machine's arithmetic gives, and what matrix products make of it.
struct Speed: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Measure matrix products against the peak of this machine's arithmetic: what a verification will cost.",
    discussion: """
      A forward pass takes about two operations per weight and token: seconds = 2 · parameters · tokens / (operations per \
      second of the largest product). The shapes are those of a 1.2B model (Llama 3.2 1B).
      """)

  @Option(help: "Tokens multiplied at a time.") var tokens = 2048
  @OptionGroup(title: "General") var shared: SharedOptions

  /// Outputs and inputs: key or value, query, gate or up, down.
  private static let shapes = [(512, 2048), (2048, 2048), (8192, 2048), (2048, 8192)]

  func validate() throws {
    guard (1...16384).contains(tokens) else { throw ValidationError("--tokens must be between 1 and 16384") }
  }

  func run() throws {
    let console = shared.console(program: "llama-verify")
    try console.run {
      let level = InstructionSet.best
      var peaks: [ProductSpeed.Arithmetic: Double] = [:]
      var products: [Row] = []
      for compute in Compute.allCases {
        let (unit, terms) = ProductSpeed.arithmetic(compute, level)
        for (outputs, inputs) in Self.shapes {
          // Measured anew before each product: clocks and neighbours change.
          let peak = ProductSpeed.peak(unit, threads: shared.threads)
          if let peak { peaks[unit] = max(peaks[unit] ?? 0, peak) }
          let rate = ProductSpeed.product(
            tokens: tokens, outputs: outputs, inputs: inputs, kernel: ProductKernel(level, compute: compute),
            threads: shared.threads)
          products.append(
            Row(
              compute: compute, outputs: outputs, inputs: inputs, rate: rate,
              share: peak.map { rate * Double(terms) / $0 }))
        }
      }
      let result = Measured(
        level: level, threads: shared.threads, tokens: tokens, peaks: peaks, products: products)
      try console.result(shared.json ? result.document.serialized() : result.table)
    }
  }

  private struct Row {
    let compute: Compute
    let outputs: Int
    let inputs: Int
    /// Useful operations per second.
    let rate: Double
    /// Of the unit's peak, all terms counted; nil where the instruction set has no unit to compare with.
    let share: Double?
  }

  private struct Measured {
    let level: InstructionSet
    let threads: Int
    let tokens: Int
    let peaks: [ProductSpeed.Arithmetic: Double]
    let products: [Row]

    private var measuredPeaks: [(ProductSpeed.Arithmetic, Double)] {
      ProductSpeed.Arithmetic.allCases.compactMap { unit in peaks[unit].map { (unit, $0) } }
    }

    var document: JSONValue {
      [
        "schema": "llama-verify.speed/1", "instruction_set": .string(level.description),
        "threads": .number(JSONNumber(threads)),
        "peaks": .array(
          measuredPeaks.map { ["arithmetic": .string($0.0.rawValue), "flops": .number(JSONNumber($0.1))] }),
        "products": .array(
          products.map { row in
            [
              "compute": .string(row.compute.rawValue), "weights": "bf16", "tokens": .number(JSONNumber(tokens)),
              "outputs": .number(JSONNumber(row.outputs)), "inputs": .number(JSONNumber(row.inputs)),
              "flops": .number(JSONNumber(row.rate)),
              "share_of_peak": row.share.map { .number(JSONNumber($0)) } ?? .null,
            ]
          }),
      ]
    }

    var table: String {
      var text = "\(level), \(threads) \(threads == 1 ? "thread" : "threads")\n"
      for (unit, peak) in measuredPeaks { text += "peak of \(unit.rawValue): \(Self.billions(peak)) GFLOP/s\n" }
      for row in products {
        let share = row.share.map { String(format: ", %.0f %% of the peak", $0 * 100) } ?? ""
        text += "\(row.compute.rawValue), \(tokens) tokens × \(row.inputs) × \(row.outputs): "
        text += "\(Self.billions(row.rate)) GFLOP/s\(share)\n"
      }
      return text
    }

    private static func billions(_ rate: Double) -> String { String(format: "%.0f", rate / 1e9) }
  }
}
