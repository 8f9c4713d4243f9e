internal import CKernels

/// How matrix products are computed.
public enum Compute: String, CaseIterable, Sendable {
  /// To float32's accuracy. Where products are made in BF16 (AMX), values that BF16 does not hold are split in two terms.
  case exact
  /// Both sides are rounded to BF16, sums are in float32: as BF16 serving computes.
  case bf16
}

/// The inner kernel of matrix products: one of those that CKernels has for each instruction set.
public struct ProductKernel: @unchecked Sendable {
  // Sound: a pointer to a constant table.
  let table: UnsafePointer<ck_product>
  public let compute: Compute

  /// The kernel of an instruction set that this processor has.
  public init(_ instructionSet: InstructionSet = .best, compute: Compute = .exact) {
    precondition(instructionSet.isAvailable, "the processor has no \(instructionSet)")
    table = ck_product_at(Int32(instructionSet.rawValue), compute == .exact ? 1 : 0)
    self.compute = compute
  }

  /// The kernel of AMX with its instructions written out in C: for any processor, to test that one by.
  public static func tileModel(compute: Compute) -> ProductKernel {
    ProductKernel(table: ck_product_tile_model(), compute: compute)
  }

  private init(table: UnsafePointer<ck_product>, compute: Compute) {
    self.table = table
    self.compute = compute
  }

  var tileTokens: Int { table.pointee.tile_tokens }
  var tileOutputs: Int { table.pointee.tile_outputs }
  /// Inputs of a block: sums over one are made without a look at the outputs.
  var block: Int { table.pointee.block }
  /// Terms of values that BF16 does not hold.
  var terms: Int { compute == .exact ? 2 : 1 }

  func tokenPanelBytes(_ k: Int, terms: Int) -> Int { tileTokens * valueBytes(k, terms) }
  func outputPanelBytes(_ k: Int, terms: Int) -> Int { tileOutputs * valueBytes(k, terms) }

  private func valueBytes(_ k: Int, _ terms: Int) -> Int {
    let step = table.pointee.step
    return (k + step - 1) / step * step * table.pointee.value_bytes * (table.pointee.splits != 0 ? terms : 1)
  }

  /// Runs `body` between what a thread does before its first tile and behind its last one.
  func onThisThread(_ body: () -> Void) {
    table.pointee.begin?()
    body()
    table.pointee.end?()
  }
}
